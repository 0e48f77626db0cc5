"""Addresses of the pages on the way in and out."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from accounts import views
from accounts.api import TicketView
from accounts.forms import LoginForm

urlpatterns = [
    path("api/v1/sockets/tickets/", TicketView.as_view(), name="socket-ticket"),
    path("login/", LoginView.as_view(authentication_form=LoginForm, redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("account/tokens/", views.tokens, name="tokens"),
    path("account/tokens/<int:token_id>/revoke/", views.revoke_token, name="token-revoke"),
    path("account/password/", views.password, name="password"),
    path("account/second-factor/", views.two_factor, name="two-factor"),
    path("setup/<str:token>/", views.setup, name="setup"),
]
