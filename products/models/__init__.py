"""The catalogue and its history, the imports that change it, and the uploads on their way to one."""

from products.models.catalogue import Product, ProductChange
from products.models.imports import Import, ReportedRow, SavedMapping
from products.models.uploads import Upload

__all__ = ["Import", "Product", "ProductChange", "ReportedRow", "SavedMapping", "Upload"]
