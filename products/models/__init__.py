"""The catalogue (`catalogue`) and the imports that feed it (`imports`)."""

from products.models.catalogue import Product, ProductChange
from products.models.imports import Import, ReportedRow

__all__ = ["Import", "Product", "ProductChange", "ReportedRow"]
