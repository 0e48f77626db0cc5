from django.contrib.postgres.indexes import BrinIndex, OpClass
from django.db import migrations


def made_anew(column: str) -> list[str]:
    """While imports go on; then it is put into the place of the old one, whose name old code asks for."""
    return [
        "DROP INDEX CONCURRENTLY IF EXISTS change_by_id_anew",  # of a try that broke off
        "CREATE INDEX CONCURRENTLY change_by_id_anew ON products_productchange"
        f" USING brin ({column}) WITH (pages_per_range = 32)",
        "BEGIN",
        "DROP INDEX change_by_id",
        "ALTER INDEX change_by_id_anew RENAME TO change_by_id",
        "COMMIT",
    ]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('products', '0009_no_index_twice'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(made_anew("id int8_minmax_multi_ops"), made_anew("id")),
            ],
            state_operations=[
                migrations.RemoveIndex(model_name='productchange', name='change_by_id'),
                migrations.AddIndex(
                    model_name='productchange',
                    index=BrinIndex(OpClass('id', name='int8_minmax_multi_ops'), name='change_by_id', pages_per_range=32),
                ),
            ],
        ),
    ]
