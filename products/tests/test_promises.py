"""Whatever is done to the catalogue, in whatever order, it comes to what the documents say: the products, their
history, the reports of imports, the feed of changes and the events.

`promises` is what the documents say, in plain Python. Here both are done the same things, and compared after each.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tests.people import token_of
from common.errors import ConflictError
from common.tests.waiting import wait_until
from products import catalogue, pushing
from products.api.rejects_csv import rejects_csv
from products.changes import ChangeFilter, History, changes_of
from products.importing import bulk, lease, pipeline, receiver, report, retention, stager, undoer
from products.importing.options import ImportOptions
from products.models import Import, ProductChange
from products.models import Product as StoredProduct
from products.selection import Selection
from products.tests.importing.imports import aside, execute, other_session
from products.tests.listening import checked, listen
from products.tests.promises import (
    CONTROL,
    DEFAULTS,
    FIELDS,
    Catalogue,
    Change,
    Plan,
    Product,
    Table,
    key,
    planned,
    spelt,
)
from webhooks.models import Delivery, Event, WebhookEndpoint

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store")]

# --- what may be done --------------------------------------------------------------------------

SKUS = st.sampled_from(["A", "a", " A ", "B", "b ", "\u00c9", "\u00e9", "E\u0301", "C", "D"])
"""Fewer products than these: upper and lower case are one, spaces don't count, and \u00c9 is composed or not."""
NAMES = st.sampled_from(["Lamp", " Lamp", "Shelf", "Hook"])
VALUES = st.sampled_from([None, "", "red", "5", 5, 7.5, True, ["S"], {"a": 1}])
PARTS: dict[str, st.SearchStrategy[Any]] = {
    "name": NAMES,
    "description": st.sampled_from(["", "Brass", " Steel "]),
    "status": st.sampled_from(["active", "inactive"]),
    "attributes": st.dictionaries(st.sampled_from(["colour", "size"]), VALUES, max_size=2),
}
SOME_FIELDS = st.fixed_dictionaries({}, optional=PARTS)
NAMED_FIELDS = st.fixed_dictionaries({"name": NAMES}, optional={n: part for n, part in PARTS.items() if n != "name"})
ITEMS = st.lists(
    st.fixed_dictionaries(
        {"sku": SKUS, "action": st.just("upsert")},
        optional={**PARTS, "name": st.one_of(NAMES, NAMES, st.just(" ")), "if_version": st.integers(0, 3)},
    )
    | st.fixed_dictionaries({"sku": SKUS, "action": st.just("delete")}, optional={"if_version": st.integers(0, 3)}),
    min_size=1,
    max_size=4,
)

CELLS = {
    "sku": st.one_of(SKUS, SKUS, SKUS, st.sampled_from(["", f"A{CONTROL}"])),
    "name": st.sampled_from(["", "Lamp", "Shelf", " Hook ", f"La{CONTROL}mp"]),
    "description": st.sampled_from(["", "Brass", " Steel "]),
    "status": st.sampled_from(["", "active", "YES", "inactive", "0", "perhaps"]),
    "attributes.colour": st.sampled_from(["", "red", "5", "7", "7.50", "true", '["S"]', '["M"]', '{"a": 2}']),
}
LIMITS = st.sampled_from(["none", "none", "none", "0", "1", "50%"])
OPTIONS = st.fixed_dictionaries(
    {"max_rejects": LIMITS},
    optional={
        "mode": st.sampled_from(["upsert", "create", "update", "sync", "sync"]),
        "duplicates": st.sampled_from(["last", "first", "reject"]),
        "empty_cells": st.sampled_from(["keep", "clear"]),
        "on_error": st.sampled_from(["skip", "skip", "skip", "abort"]),
        "max_deactivated": LIMITS,
        "check_first": st.sampled_from(["true", "false"]),
    },
)
OTHERS_AT_WORK = ("somebody writes", "somebody edits")
TROUBLES = st.sampled_from(["", "", "", "", "cancelled", "cut off", "given up for dead", *OTHERS_AT_WORK])
"""What happens to a worker in the middle of writing."""


@st.composite
def tables(draw: st.DrawFn) -> Table:
    others = draw(st.lists(st.sampled_from([*CELLS][1:]), min_size=1, unique=True))
    header = draw(st.permutations(["sku", *others]))
    good = st.tuples(*(CELLS[column] for column in header)).map(list)
    longer = good.flatmap(lambda cells: st.sampled_from([[*cells, ""], [*cells, "more"]]))
    shorter = good.map(lambda cells: cells[:-1]).filter(any)
    wrapped = good.map(lambda cells: [Table(cells, ()).text().strip("\n")])
    odd = st.one_of(longer, shorter, wrapped, st.just(list(header)))
    return Table(header, draw(st.lists(st.one_of(good, good, odd), max_size=7)))


# --- an import, and what it is to come to ------------------------------------------------------


@dataclass(eq=False)
class Job:
    """An import, an undo or a change of many, and what the documents say of it."""

    id: Any
    kind: str = "bulk"
    options: Mapping[str, str] = field(default_factory=dict)
    table: Table = field(default_factory=lambda: Table((), ()))
    plan: Plan = field(default_factory=Plan)
    user: User | None = None
    changes: list[Change] = field(default_factory=list)
    """Those that it made."""
    started: bool = False
    undone: bool = False

    def read(self) -> Import:
        return Import.objects.get(pk=self.id)

    def event(self, event_type: str, **data: int) -> dict[str, Any]:
        """What is told of it."""
        return {"type": event_type, "id": str(self.id), "kind": self.kind, **data}


EMPTIED = (
    "products_product, products_productchange, products_import, products_reportedrow, products_changepush, "
    "products_savedmapping, webhooks_event, webhooks_delivery"
)
CHANGES = "/api/v1/changes/"


class Promises(RuleBasedStateMachine):
    """Does the same to the service and to the model, and compares them."""

    client: APIClient
    ada: User
    endpoint: WebhookEndpoint

    def __init__(self) -> None:
        super().__init__()
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {EMPTIED} CASCADE")
        self.model = Catalogue()
        self.jobs: list[Job] = []
        """Those that were applied."""
        self.checks: list[Job] = []
        """Those that wait for a decision."""
        self.etags: list[tuple[Product, int]] = []
        """States of products that somebody has seen."""
        self.times: dict[int, tuple[int, datetime, datetime]] = {}
        """Of each product that was seen, by its id: its version, when it was created, and when last changed."""
        self.feed: list[dict[str, Any]] = []
        self.places = [(0, f"{CHANGES}?values=true")]
        """How many changes came before an address of the feed."""
        self.pushes: list[tuple[Job | None, list[Change]]] = []
        """Changes of many that are still to be told."""
        self.heard: set[Any] = set()
        """Ids of events."""
        self.made: list[Change] = []
        self.expected: list[dict[str, Any]] = []
        """Changes, and events, that the next comparison is to find."""
        self.writes_meanwhile = 0

    def teardown(self) -> None:
        for job in self.checks:
            lease.request_cancel(job.read())
        stager.drop_abandoned()

    # --- one product at a time -----------------------------------------------------------------

    @rule(sku=SKUS, fields=NAMED_FIELDS)
    def create(self, sku: str, fields: dict[str, Any]) -> None:
        answer = self.client.post("/api/v1/products/", {"sku": sku, **fields}, format="json")

        if self.model.find(sku):
            assert (answer.status_code, answer.json()["code"]) == (409, "sku_taken")
            self.compare()
        else:
            assert answer.status_code == 201
            self.compare_one(self.model.create(sku, trimmed(fields)))

    @rule(sku=SKUS, fields=SOME_FIELDS, data=st.data())
    def change(self, sku: str, fields: dict[str, Any], data: st.DataObject) -> None:
        self._write("PATCH", sku, fields, data, lambda product: self.model.update(product, trimmed(fields)))

    @rule(sku=SKUS, fields=NAMED_FIELDS, data=st.data())
    def replace(self, sku: str, fields: dict[str, Any], data: st.DataObject) -> None:
        whole = {**DEFAULTS, **trimmed(fields)}
        self._write("PUT", sku, fields, data, lambda product: self.model.update(product, whole))

    @rule(sku=SKUS, data=st.data())
    def delete(self, sku: str, data: st.DataObject) -> None:
        self._write("DELETE", sku, None, data, self.model.delete)

    def _write(
        self, method: str, sku: str, body: object, data: st.DataObject, write: Callable[[Product], Change | None]
    ) -> None:
        product = self.model.find(sku)
        seen = data.draw(st.sampled_from([None, *self.etags[-5:]]), label="If-Match")
        answer = self.client.generic(
            method,
            f"/api/v1/products/{quote(spelt(sku))}/",
            "" if body is None else json.dumps(body),
            content_type="application/json",
            headers={"if-match": etag(*seen)} if seen else {},
        )

        if product is None:
            assert answer.status_code == 404
            self.compare()
        elif seen and seen != (product, product.version):
            assert answer.status_code == 412
            self.compare()
        else:
            change = write(product)
            assert answer.status_code == (204 if method == "DELETE" else 200)
            assert method == "DELETE" or answer["ETag"] == etag(product, product.version)
            self.compare_one(change)

    @precondition(lambda self: self.model.products)
    @rule(data=st.data())
    def look_at_a_product(self, data: st.DataObject) -> None:
        product = data.draw(st.sampled_from([*self.model.products.values()]))
        answer = self.client.get(f"/api/v1/products/{quote(product.sku.lower())}/")
        assert answer["ETag"] == etag(product, product.version)
        self.etags.append((product, product.version))

    # --- many at a time ------------------------------------------------------------------------

    @rule(items=ITEMS, atomic=st.sampled_from([False, False, True]))
    def write_in_bulk(self, items: list[dict[str, Any]], atomic: bool) -> None:
        answer = self.client.post("/api/v1/products/bulk/", {"items": items, "atomic": atomic}, format="json")

        outcomes, changes = self.model.bulk(items, atomic=atomic)
        refused = {"invalid", "conflict"} & set(outcomes)
        if atomic and refused:
            assert answer.json()["code"] == "bulk_refused"
            assert answer.status_code == (400 if "invalid" in refused else 409)
        else:
            products = [self.model.find(item["sku"]) for item in items]
            versions = [
                product.version if product and outcome in ("created", "updated", "unchanged") else None
                for product, outcome in zip(products, outcomes, strict=True)
            ]
            results = [(result["status"], result["version"]) for result in answer.json()["results"]]
            assert results == list(zip(outcomes, versions, strict=True))
        self.compare_many(changes, actor=self.ada)

    @rule(skus=st.sets(SKUS, min_size=1), action=st.sampled_from(["active", "inactive", "delete"]))
    def act_on_rows_ticked_in_the_admin(self, skus: set[str], action: str) -> None:
        ticked = {product for sku in skus if (product := self.model.find(sku))}
        rows = StoredProduct.objects.filter(pk__in=[0, *(product.id for product in ticked)])
        if action == "delete":
            number = catalogue.delete_products(rows, actor=self.ada)
            made: list[Change | None] = [self.model.delete(product) for product in ticked]
        else:
            number = catalogue.set_status(rows, action, actor=self.ada)
            made = [self.model.update(product, {"status": action}) for product in ticked]

        changes = [change for change in made if change]
        assert number == len(changes)
        self.compare_many(changes, actor=self.ada)

    @rule(
        action=st.sampled_from(["activate", "deactivate", "delete"]),
        status=st.sampled_from(["", "active", "inactive"]),
        sku=st.sampled_from(["", "a", "\u00e9"]),
        trouble=TROUBLES,
    )
    def change_all_that_match(self, action: str, status: str, sku: str, trouble: str) -> None:
        import_ = bulk.request_change(action, Selection(status=status, sku=sku), user=self.ada)
        job = Job(import_.pk, user=self.ada)
        chosen = [
            product
            for product in self.model.products.values()
            if product.fields and key(product.sku).startswith(sku) and status in ("", product.fields["status"])
        ]
        if not self.work(job, trouble if trouble not in OTHERS_AT_WORK else "", chosen):
            return
        new = {"activate": "active", "deactivate": "inactive"}.get(action)
        made = [
            self.model.update(product, {"status": new}) if new else self.model.delete(product) for product in chosen
        ]
        job.changes = [change for change in made if change]
        number = len(job.changes)
        self._applied(
            job,
            rows_read=len(chosen),
            rows_updated=number if new else 0,
            rows_deleted=0 if new else number,
            rows_unchanged=len(chosen) - number,
        )

    # --- files ---------------------------------------------------------------------------------

    @rule(table=tables(), options=OPTIONS, by_ada=st.booleans(), trouble=TROUBLES)
    def import_a_file(self, table: Table, options: dict[str, str], by_ada: bool, trouble: str) -> None:
        self._import(table, table.text(), options, self.ada if by_ada else None, trouble)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), options=OPTIONS)
    def import_what_was_rejected(self, data: st.DataObject, options: dict[str, str]) -> None:
        job = data.draw(st.sampled_from(self.jobs[-3:]))
        if job.kind == "file":
            text = "".join(rejects_csv(job.read(), "rejected"))
            header, *rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
            self._import(Table(header, rows), text, options, None, "")

    def _import(self, table: Table, text: str, options: dict[str, str], user: User | None, trouble: str) -> None:
        job = self._received(text.encode(), options, user)
        job.table = table
        job.plan = planned(table, options, self.model)
        checks = options.get("check_first") == "true" or options.get("mode") == "sync"
        if failures := job.plan.failures(options, applied=not checks):
            self.work(job)
            self._failed(job, failures)
        elif checks:
            self.work(job)
            self.checks.append(job)
            self._waits(job, stale=False)
        elif self.work(job, trouble, job.plan.products):
            job.plan = planned(table, options, self.model)  # by what others wrote meanwhile
            self._apply(job)

    @precondition(lambda self: self.checks)
    @rule(data=st.data(), crashed=st.sampled_from([False, False, False, True]), trouble=TROUBLES)
    def apply_what_was_checked(self, data: st.DataObject, crashed: bool, trouble: str) -> None:
        job = data.draw(st.sampled_from(self.checks))
        shown, job.plan = job.plan, planned(job.table, job.options, self.model)
        if crashed:  # PostgreSQL: it empties tables of this kind
            execute(connection, f"TRUNCATE {stager.staging_table(job.read())}, {stager.changes_table(job.read())}")
        read_again = crashed and job.plan.rows_kept > 0
        differs = job.plan.list_of_changes() != ([] if crashed else shown.list_of_changes())
        lease.request_apply(job.read())
        if failures := job.plan.failures(job.options, applied=not read_again):
            self.work(job)
            self.checks.remove(job)
            self._failed(job, failures)
        elif read_again or differs:
            self.work(job)
            self._waits(job, stale=True)
        else:
            self.checks.remove(job)
            # Of what is written in the middle of it, nobody knows whether the file lacks it.
            # And what edits one of its products makes another check of it.
            trouble = "" if job.options.get("mode") == "sync" and trouble == "somebody writes" else trouble
            trouble = "" if trouble == "somebody edits" else trouble
            if self.work(job, trouble, job.plan.products):
                self._apply(job)

    @precondition(lambda self: self.checks)
    @rule(data=st.data())
    def discard_what_was_checked(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.checks))
        self.checks.remove(job)
        assert lease.request_cancel(job.read()).state == "CANCELLED"
        self.expected.append(job.event("import.cancelled", products_changed=0))
        self.compare()

    @rule(formulas=st.sampled_from(["safe", "raw"]), mode=st.sampled_from(["upsert", "update"]))
    def import_what_was_exported(self, formulas: str, mode: str) -> None:
        answer = self.client.get(f"/api/v1/products/export.csv?formulas={formulas}")
        job = self._received(b"".join(answer.streaming_content), {"mode": mode}, None)  # type: ignore[attr-defined]
        self.work(job)
        self._applied(job, rows_read=len(self.model.products), rows_unchanged=len(self.model.products))

    def _import_one_row(self, sku: str, column: str, cell: str) -> None:
        table, options = Table(("sku", column), ((sku, cell),)), {"max_rejects": "none"}
        job = self._received(table.text().encode(), options, None)
        job.table, job.plan = table, planned(table, options, self.model)
        self.work(job)
        self._apply(job)

    def _received(self, content: bytes, options: Mapping[str, str], user: User | None) -> Job:
        parsed = ImportOptions.parse({"delimiter": ",", "header_line": "1", **options})
        import_ = receiver.receive([content], file_name="products.csv", options=parsed, user=user)
        return Job(import_.pk, kind="file", options=options, user=user)

    # --- undo ----------------------------------------------------------------------------------

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), trouble=TROUBLES)
    def undo(self, data: st.DataObject, trouble: str) -> None:
        undoable = [job for job in self.jobs if job.changes and not job.undone]
        self._undo(data.draw(st.sampled_from([*undoable[-4:], *undoable[-4:], self.jobs[-1]])), trouble)

    @rule(sku=SKUS, data=st.data())
    def import_one_product_several_times_and_undo_some_of_it(self, sku: str, data: st.DataObject) -> None:
        before = len(self.jobs)
        for _ in range(3):
            self._import_one_row(sku, data.draw(st.sampled_from(["name", "description"])), data.draw(NAMES))
        for _ in range(data.draw(st.integers(2, 4))):
            undoable = [job for job in self.jobs[before:] if job.changes and not job.undone]
            if undoable:
                self._undo(data.draw(st.sampled_from(undoable)), "")

    def _undo(self, target: Job, trouble: str) -> None:
        if target.undone or not target.changes:
            with pytest.raises(ConflictError) as raised:
                undoer.request_undo(target.read(), user=None)
            assert raised.value.code == ("undone_already" if target.undone else "nothing_to_undo")
            return
        import_ = undoer.request_undo(target.read(), user=self.ada)
        job = Job(import_.pk, kind="undo", user=self.ada)
        if not self.work(job, trouble, [change.product for change in target.changes if change.product.fields]):
            return
        target.undone = True
        job.changes, kept = self.model.undo(target.changes)
        actions = [change.action for change in job.changes]
        self._applied(
            job,
            rows_read=len(target.changes),
            rows_created=actions.count("created"),
            rows_updated=actions.count("updated"),
            rows_deleted=actions.count("deleted"),
            rows_rejected=len(kept),
        )
        found = [error["code"] for row in job.read().reported_rows.all() for error in row.errors]
        assert sorted(found) == sorted(kept)

    # --- imports of every kind -----------------------------------------------------------------

    def work(self, job: Job, trouble: str = "", touches: Sequence[Product] = ()) -> bool:
        """Do the work of a worker, to whom this happens while he writes one of these products. False if the import was
        cancelled by that: it has left nothing."""
        if not job.started:
            self.expected.append(job.event("import.started"))
        job.started = True
        if not trouble or not touches:
            assert pipeline.run(job.id, worker="test")
            return True
        with held_up(job.id, touches[-1]) as (waits, other):
            self._products_are_the_same()
            if waits and trouble == "somebody writes":
                self.writes_meanwhile += 1
                fields = {"sku": f"Z{self.writes_meanwhile}", "name": "Zip"}
                assert self.client.post("/api/v1/products/", fields, format="json").status_code == 201
                self._made_by_ada(self.model.create(fields["sku"], {"name": "Zip"}))
            elif waits and trouble == "somebody edits":
                self._edit(touches[-1], other)
            elif waits:
                TROUBLE[trouble](job)
        now = job.read()
        if now.phase == "retrying":
            Import.objects.filter(pk=job.id).update(retry_at=None)
            pipeline.run(job.id, worker="another")
        if waits and trouble == "cancelled":
            assert now.state == "CANCELLED"
            self.expected.append(job.event("import.cancelled", products_changed=0))
            self.compare()
            return False
        return True

    def _edit(self, product: Product, other: BaseDatabaseWrapper) -> None:
        """The product that `other` holds gets another name, as an edit of one product does it, without its event."""
        change = self.model.update(product, {"name": f"Edited {product.version}"})
        assert change is not None
        change.actor = self.ada.username
        self.made.append(change)
        execute(
            other,
            "WITH edited AS (UPDATE products_product SET name = %s, version = version + 1, updated_at = now()"
            "                 WHERE id = %s RETURNING new.id, new.sku, new.version, old.name) "
            "INSERT INTO products_productchange (product_id, sku, action, version, previous, actor_id) "
            "SELECT id, sku, 'updated', version, jsonb_build_object('name', name), %s FROM edited",
            (change.after or {})["name"],
            product.id,
            self.ada.pk,
        )
        execute(other, "COMMIT")

    def _apply(self, job: Job) -> None:
        """The file is in the catalogue, exactly as planned."""
        shown = sorted((step.shown() for step in job.plan.steps), key=str)
        job.changes = job.plan.apply(self.model)
        self._applied(job, **job.plan.counts())
        self._reports(job)
        assert sorted(shown_changes(job), key=str) == shown

    def _applied(self, job: Job, **counts: int) -> None:
        """The import has done what it was to do, and says so."""
        import_ = job.read()
        assert (import_.state, import_.error_message) == ("SUCCESS", "")
        counted = {name: counts.get(name, 0) for name in COUNTS}
        assert {name: getattr(import_, name) for name in COUNTS} == counted
        assert import_.rows_read == sum(counted[name] for name in SUMMANDS)
        self.jobs.append(job)
        ended = "import.undone" if job.kind == "undo" else "import.completed"
        self.expected.append(job.event(ended, products_changed=len(job.changes), **counted))
        self.compare_many(job.changes, job=job, actor=job.user)

    def _failed(self, job: Job, codes: set[str]) -> None:
        """The import has ended for one of these reasons, and has left nothing."""
        import_ = job.read()
        assert import_.state == "FAILURE"
        assert import_.error_code in codes
        self.expected.append(job.event("import.failed", products_changed=0))
        self.compare()

    def _waits(self, job: Job, *, stale: bool) -> None:
        """The check is done, says what the file would do, and has written nothing."""
        import_ = job.read()
        assert (import_.state, import_.phase, import_.stale) == ("PENDING", "checked", stale)
        counts = job.plan.counts()
        assert {name: getattr(import_, name) for name in counts} == counts
        self._reports(job)
        assert sorted(shown_changes(job), key=str) == sorted((step.shown() for step in job.plan.steps), key=str)
        self.compare()

    def _reports(self, job: Job) -> None:
        found = {
            outcome: {row.line_number: {e["code"] for e in row.errors} for row in report.rows_of(job.read(), outcome)}
            for outcome in ("rejected", "duplicate", "repaired")
        }
        assert found["rejected"] == job.plan.rejected
        assert found["duplicate"] == {line: {"duplicate_sku"} for line in job.plan.duplicate}
        assert found["repaired"] == {line: {code} for line, code in job.plan.repaired.items()}

    # --- what is the same after each of them ---------------------------------------------------

    def compare_one(self, change: Change | None) -> None:
        """After a write of one product, by Ada, that made this change, or none."""
        if change:
            self._made_by_ada(change)
        self.compare()

    def _made_by_ada(self, change: Change) -> None:
        change.actor = self.ada.username
        self.made.append(change)
        self.expected.append(product_event(change))

    def compare_many(self, changes: list[Change], *, actor: User | None, job: Job | None = None) -> None:
        for change in changes:
            change.actor, change.import_id = actor.username if actor else None, job and job.id
        self.made += changes
        if changes:
            self.pushes.append((job, changes))
        self.compare()

    def compare(self) -> None:
        """The service has made the changes that the model has made, has told of them, and is as the model is."""
        made, self.made = self.made, []
        self._history_has(made)
        self._products_are_the_same()
        self._feed_goes_on_with(made)
        self._was_told_of(self.expected)
        self.expected = []

    def _history_has(self, changes: list[Change]) -> None:
        """These changes, each with what was there before, and nothing else."""
        known = [change.id for change in self._history() if change.id]
        rows = ProductChange.objects.exclude(pk__in=known)
        found = {(row.sku, row.action, row.version): row for row in rows}
        assert len(rows) == len(found)
        assert found.keys() == {(change.product.sku, change.action, change.version) for change in changes}
        products = {product.id for product in self._products()}
        for change in changes:
            row = found[change.product.sku, change.action, change.version]
            if change.product.id is None:
                assert row.product_id not in products
                change.product.id = row.product_id
            change.id = row.pk
            assert (row.product_id, row.version, row.line_number) == (change.product.id, change.version, change.line)
            assert {name: value for name, value in (row.previous or {}).items() if name in FIELDS} == change.previous
            assert (row.import_id, row.actor_id) == (change.import_id, self.ada.pk if change.actor else None)

    def _products_are_the_same(self) -> None:
        """Also as old, where they come back; and only what changes has another time of its last change."""
        rows = list(StoredProduct.objects.all())
        found = {key(row.sku): (row.pk, row.sku, row.version, {n: getattr(row, n) for n in FIELDS}) for row in rows}
        assert found == {
            name: (product.id, product.sku, product.version, product.fields)
            for name, product in self.model.products.items()
        }
        for row in rows:
            version, created_at, updated_at = self.times.get(row.pk, (0, row.created_at, row.created_at))
            assert row.created_at == created_at
            assert row.updated_at == updated_at if row.version == version else row.updated_at >= updated_at
            self.times[row.pk] = (row.version, row.created_at, row.updated_at)

    def _feed_goes_on_with(self, changes: list[Change]) -> None:
        """Whoever follows it hears of these changes, of each once."""
        before = len(self.feed)
        wait_until(lambda: len(self._followed()) >= before + len(changes), "the feed has what was changed")
        new = {item["id"]: item for item in self.feed[before:]}
        assert len(new) == len(self.feed) - before == len(changes)
        for change in changes:
            item = new[change.id or 0]
            previous = {name: change.previous[name] for name in FIELDS if name in change.previous}
            assert {name: item[name] for name in as_told(change)} == as_told(change)
            assert (item["previous"], item["changed_by"]) == (previous, change.actor)
            assert item["import"] == (str(change.import_id) if change.import_id else None)

    def _followed(self) -> list[dict[str, Any]]:
        while (page := self.client.get(f"{self.places[-1][1]}&page_size=2").json())["results"]:
            self.feed += page["results"]
            self.places.append((len(self.feed), page["next"].replace("&page_size=2", "")))
        return self.feed

    def _was_told_of(self, expected: list[dict[str, Any]]) -> None:
        """These events, of each once, and nothing else."""
        bodies = self._new_events()
        assert [body["type"] for body in bodies] == [wanted["type"] for wanted in expected]
        for body, wanted in zip(bodies, expected, strict=True):
            told = {**body["data"], "type": body["type"]}
            if "product" in told:
                told["product"] = {name: told["product"][name] for name in ("sku", *FIELDS)}
            assert {name: told[name] for name in wanted} == wanted

    def _new_events(self) -> list[dict[str, Any]]:
        events = list(Event.objects.exclude(pk__in=self.heard).order_by("id"))
        self.heard |= {each.pk for each in events}
        told = Delivery.objects.filter(endpoint_id=self.endpoint.pk, event_id__in=[each.pk for each in events])
        assert told.count() == len(events)
        return [checked(each) for each in events]

    def _products(self) -> list[Product]:
        """Also those that are gone."""
        return [*self.model.products.values(), *self.model.gone]

    def _history(self) -> list[Change]:
        return [change for product in self._products() for change in product.history]

    @rule()
    def what_is_old_is_forgotten(self) -> None:
        """All that has ended is old enough: its file, its report and, where it changed nothing, its row."""
        retention.remove_files(0)
        retention.remove_imports(0)
        self.jobs = [job for job in self.jobs if job.changes or job.kind == "undo"]
        kept = [job.id for job in (*self.jobs, *self.checks)]
        assert set(Import.objects.values_list("pk", flat=True)) == set(kept)
        self.compare()

    # --- looking back --------------------------------------------------------------------------

    @rule()
    def those_who_want_every_change_are_told_of_what_was_left_for_them(self) -> None:
        pushing.push_all()
        bodies = self._new_events()
        for job, changes in self.pushes:
            batches = [bodies.pop(0)["data"] for _ in range(-(-len(changes) // self.endpoint.batch_items))]
            assert [batch["batch"] for batch in batches] == list(range(1, len(batches) + 1))
            assert [batch["last"] for batch in batches] == [False] * (len(batches) - 1) + [True]
            for batch in batches:
                assert (batch["import"], batch["items_total"]) == (str(job.id) if job else None, len(changes))
            told = [item for batch in batches for item in batch["items"]]
            assert sorted(told, key=lambda item: item["id"]) == sorted(
                map(as_told, changes), key=lambda item: item["id"]
            )
        assert bodies == []
        self.pushes.clear()

    @rule(data=st.data(), size=st.sampled_from([1, 3, 1000]))
    def the_feed_is_the_same_from_wherever_it_is_followed(self, data: st.DataObject, size: int) -> None:
        before, url = data.draw(st.sampled_from(self.places))
        items = []
        while (page := self.client.get(f"{url}&page_size={size}").json())["results"]:
            items += page["results"]
            url = page["next"].replace(f"&page_size={size}", "")
        assert items == self.feed[before:]
        for job in self.jobs[-5:]:
            page = self.client.get(f"{CHANGES}?import={job.id}&page_size=1000").json()
            assert {item["id"] for item in page["results"]} == {change.id for change in job.changes}

    @rule()
    def each_history_tells_the_values_before_and_after_every_change(self) -> None:
        for product in self._products():
            page = History(product.id or 0, Import.objects.all()).page(after=None, before=None, limit=1000)
            told = [(each["action"], each["version"], each["fields"]) for each in page]
            assert told == [
                (change.action, change.version, old_and_new(change)) for change in reversed(product.history)
            ]

    @rule()
    def what_the_history_keeps_leads_back_to_an_empty_catalogue(self) -> None:
        left = {row.pk: {name: getattr(row, name) for name in FIELDS} for row in StoredProduct.objects.all()}
        for change in ProductChange.objects.order_by("-id"):
            before = {name: value for name, value in (change.previous or {}).items() if name in FIELDS}
            assert (change.product_id in left) == (change.action != "deleted")
            if change.action == "created":
                del left[change.product_id]
            else:
                left[change.product_id] = {**left.get(change.product_id, {}), **before}
        assert left == {}


COUNTS = (
    "rows_read",
    "rows_created",
    "rows_updated",
    "rows_unchanged",
    "rows_rejected",
    "rows_duplicate",
    "rows_deleted",
    "rows_repaired",
    "products_deactivated",
)
SUMMANDS = COUNTS[1:7]


def etag(product: Product, version: int) -> str:
    return f'"{product.id}-{version}"'


def trimmed(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value.strip() if name == "name" else value for name, value in fields.items()}


def shown_changes(job: Job) -> Iterator[tuple[Any, ...]]:
    """As the page of the import has them."""
    for each in changes_of(job.read(), ChangeFilter()).page(after=None, before=None, limit=1000):
        fields = {name: (value["old"], value["new"]) for name, value in each["fields"].items()}
        yield each["line_number"], each["sku"], each["action"], each["version"], fields


def old_and_new(change: Change) -> dict[str, dict[str, Any]]:
    before, after = change.before or {}, change.after or {}
    # An undo may set back what has its old value already: that is a change of no field.
    names = change.changed_fields if change.action == "updated" else FIELDS
    return {name: {"old": before.get(name), "new": after.get(name)} for name in names}


def as_told(change: Change) -> dict[str, Any]:
    return {
        "id": change.id,
        "product_id": change.product.id,
        "sku": change.product.sku,
        "action": change.action,
        "version": change.version,
        "changed_fields": change.changed_fields,
    }


def product_event(change: Change) -> dict[str, Any]:
    fields = change.after or change.before or {}
    return {
        "type": f"product.{change.action}",
        "version": change.version,
        "changed_fields": change.changed_fields,
        "previous": change.previous if change.action == "updated" else {},
        "product": {"sku": change.product.sku, **fields},
    }


# --- what happens to workers -------------------------------------------------------------------


@contextmanager
def held_up(import_id: Any, product: Product) -> Iterator[tuple[bool, BaseDatabaseWrapper]]:
    """The import runs, and waits in the middle of its writing, since somebody holds one of its products. Gives whether
    it does, since it may have ended before, and the session that holds it."""
    with other_session() as other:
        execute(other, "BEGIN")
        execute(other, "SELECT FROM products_product WHERE id = %s FOR UPDATE", product.id)
        with aside(lambda: pipeline.run(import_id, worker="held up")) as worker:
            try:
                found = wait_until(lambda: (waited_for(other) and "waits") or (not worker.is_alive() and "ended"))
                yield found == "waits", other
            finally:
                execute(other, "ROLLBACK")
    assert worker.error is None


def waited_for(other: BaseDatabaseWrapper) -> bool:
    """Whether somebody waits for what this session holds. (Others wait for one another now and then, if briefly.)"""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)))",
            [other.connection.info.backend_pid],
        )
        return bool(cursor.fetchone()[0])


def cut_off(job: Job) -> None:
    """Its connection to the database breaks."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )


def give_up_for_dead(job: Job) -> None:
    """Its lease has run out, and the sweep hands the import to another worker."""
    with transaction.atomic():
        Import.objects.filter(pk=job.id).update(lease_expires_at=Now() - timedelta(seconds=1))
        assert job.id in lease.sweep()


TROUBLE: dict[str, Callable[[Job], object]] = {
    "cancelled": lambda job: lease.request_cancel(job.read()),
    "cut off": cut_off,
    "given up for dead": give_up_for_dead,
}


# --- the tests ---------------------------------------------------------------------------------


def test_whatever_is_done_comes_to_what_the_documents_say(settings_of_service: None) -> None:
    run_state_machine_as_test(Promises, settings=HYPOTHESIS)


HYPOTHESIS = settings(
    max_examples=14,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink an example of so many steps takes ten minutes
)
"""Some seconds. To look for longer, give it more."""


@pytest.fixture
def settings_of_service(settings: Settings) -> None:
    settings.IMPORT_BATCH_SIZE = 2
    Promises.ada = User.objects.create_user("ada")
    _, token = token_of(Promises.ada, "read", "write", "import")
    Promises.client = APIClient(headers={"authorization": f"Bearer {token}"})
    Promises.endpoint = listen(batch_items=2)
