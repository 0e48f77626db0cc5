"""The list and the detail of products as DRF's tutorial has them, in our own service: the same middleware, token,
permission and pages by key, but a ModelSerializer, models, and DRF's renderer.

    granian --interface wsgi plain_reads:application
"""

from __future__ import annotations

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Lower

from odata.wsgi import application  # noqa: F401 - for the web server

settings.ROOT_URLCONF = "plain_reads"

from django.urls import path  # noqa: E402
from rest_framework.generics import ListAPIView, RetrieveAPIView  # noqa: E402
from rest_framework.pagination import CursorPagination  # noqa: E402
from rest_framework.renderers import JSONRenderer  # noqa: E402
from rest_framework.serializers import ModelSerializer  # noqa: E402

from accounts.access import HasScope  # noqa: E402
from products.listing import FIELDS  # noqa: E402
from products.models import Product  # noqa: E402


class ProductSerializer(ModelSerializer):
    class Meta:
        model = Product
        fields = FIELDS


class Pages(CursorPagination):
    page_size = 50
    ordering = "id"


class ProductList(ListAPIView):
    queryset = Product.objects.all()
    serializer_class = ProductSerializer
    pagination_class = Pages
    renderer_classes = (JSONRenderer,)
    permission_classes = (HasScope,)
    required_scopes = {"get": {"read"}}


class ProductDetail(RetrieveAPIView):
    queryset = Product.objects.annotate(key=Lower(F("sku")))
    serializer_class = ProductSerializer
    lookup_field = "key"
    renderer_classes = (JSONRenderer,)
    permission_classes = (HasScope,)
    required_scopes = {"get": {"read"}}

    def get_object(self) -> Product:
        self.kwargs["key"] = self.kwargs["key"].lower()
        found: Product = super().get_object()
        return found


urlpatterns = [
    path("api/v1/products/", ProductList.as_view()),
    path("api/v1/products/<path:key>/", ProductDetail.as_view()),
]
