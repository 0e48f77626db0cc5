"""As the service that this one replaces: SQLModel objects, `add_all` of 1,000, a commit per 5,000, no upsert."""

from __future__ import annotations

import csv
from pathlib import Path

import peer
from sqlmodel import Field, Session, SQLModel, create_engine

BATCH = 1000
COMMIT_EVERY = 5000


class Product(SQLModel, table=True):
    __tablename__ = peer.table()

    id: int | None = Field(default=None, primary_key=True)
    sku: str = Field(index=True, unique=True, max_length=100)
    name: str = Field(max_length=255)
    description: str = ""
    status: str = "active"


def load(path: Path) -> int:
    engine = create_engine(peer.database_url().replace("postgresql:", "postgresql+psycopg:", 1))
    count = 0
    batch: list[Product] = []
    with path.open(encoding="utf-8", newline="") as file, Session(engine) as session:
        for row in csv.DictReader(file):
            batch.append(Product(**row))
            count += 1
            if len(batch) == BATCH:
                session.add_all(batch)
                batch = []
            if count % COMMIT_EVERY == 0:
                session.commit()
        session.add_all(batch)
        session.commit()
    return count


if __name__ == "__main__":
    peer.run(load)
