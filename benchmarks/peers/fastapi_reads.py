"""The list and the detail of products as FastAPI, SQLModel and asyncpg give them, for the same tokens and rows.

    DATABASE_URL=... uvicorn fastapi_reads:app --workers 1

As the documentation of each has it: an async session per request, a dependency that looks the token up, response
models. A page by key, as ours; the token's user in the same query.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from sqlalchemy import ARRAY, JSON, Column, DateTime, String, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import Field, SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

PAGE = 50


def engine_url() -> str:
    url = urlsplit(os.environ["DATABASE_URL"])
    host = parse_qs(url.query)["host"][0]
    return f"postgresql+asyncpg://{url.username}@/{url.path.removeprefix('/')}?{urlencode({'host': host})}"


engine = create_async_engine(engine_url(), pool_size=20, max_overflow=30)
sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)


class ProductShown(SQLModel):
    sku: str
    name: str
    description: str
    status: str
    attributes: dict[str, Any] = Field(sa_column=Column(JSONB().with_variant(JSON(), "sqlite")))
    version: int
    created_at: datetime = Field(sa_type=DateTime(timezone=True))  # type: ignore[call-overload]
    updated_at: datetime = Field(sa_type=DateTime(timezone=True))  # type: ignore[call-overload]


class Product(ProductShown, table=True):
    __tablename__ = "products_product"

    id: int | None = Field(default=None, primary_key=True)


class User(SQLModel, table=True):
    __tablename__ = "accounts_user"

    id: int | None = Field(default=None, primary_key=True)
    is_active: bool


class ApiToken(SQLModel, table=True):
    __tablename__ = "accounts_apitoken"

    id: int | None = Field(default=None, primary_key=True)
    user_id: int = Field(foreign_key="accounts_user.id")
    key_id: str
    digest: str
    scopes: list[str] = Field(sa_column=Column(ARRAY(String)))
    expires_at: datetime | None = Field(sa_type=DateTime(timezone=True))  # type: ignore[call-overload]


class Page(SQLModel):
    next: str | None
    previous: str | None
    results: list[ProductShown]


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


async def reader(database: Session, authorization: Annotated[str, Header()] = "") -> ApiToken:
    """The token of the request, if it may read."""
    _, _, full = authorization.partition(" ")
    _, key_id, secret = [*full.split("_", 2), "", ""][:3]
    found = (await database.exec(select(ApiToken, User).join(User).where(ApiToken.key_id == key_id))).first()
    digest = hashlib.sha256(secret.encode()).hexdigest()
    if found is None or not hmac.compare_digest(found[0].digest, digest) or not found[1].is_active:
        raise HTTPException(401)
    if found[0].expires_at is not None and found[0].expires_at <= datetime.now(UTC):
        raise HTTPException(401)
    if "read" not in found[0].scopes:
        raise HTTPException(403)
    return found[0]


app = FastAPI(dependencies=[Depends(reader)])


@app.get("/api/v1/products/", response_model=Page)
async def list_products(request: Request, database: Session, cursor: str = "", page_size: int = PAGE) -> Any:
    after = int(b64decode(cursor)) if cursor else 0
    query = select(Product).where(Product.id > after).order_by(Product.id).limit(page_size + 1)  # type: ignore[operator, arg-type]
    found = (await database.exec(query)).all()
    rows = found[:page_size]
    following = None
    if len(found) > page_size:
        following = str(request.url.include_query_params(cursor=b64encode(str(rows[-1].id).encode()).decode()))
    return {"next": following, "previous": None, "results": rows}


@app.get("/api/v1/products/{sku:path}/", response_model=ProductShown)
async def read_product(sku: str, database: Session, response: Response) -> Any:
    product = (await database.exec(select(Product).where(func.lower(Product.sku) == func.lower(sku)))).first()
    if product is None:
        raise HTTPException(404)
    response.headers["ETag"] = f'"{product.id}-{product.version}"'
    return product
