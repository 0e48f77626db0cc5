"""The catalogue and its history, the imports that change it, the uploads on their way to one, and whom to tell."""

from products.models.catalogue import Product, ProductChange
from products.models.imports import Import, ReportedRow, SavedMapping
from products.models.pushes import ChangePush
from products.models.uploads import Upload

__all__ = ["ChangePush", "Import", "Product", "ProductChange", "ReportedRow", "SavedMapping", "Upload"]
