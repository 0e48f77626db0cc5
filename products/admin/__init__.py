"""The catalogue, its history and the imports in Django's admin."""

from products.admin.history import ProductChangeAdmin
from products.admin.imports import ImportAdmin
from products.admin.products import ProductAdmin

__all__ = ["ImportAdmin", "ProductAdmin", "ProductChangeAdmin"]
