import django.contrib.postgres.indexes
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('accounts', '0006_session_keys'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='auditentry',
            index=django.contrib.postgres.indexes.BrinIndex(fields=['at'], name='audit_by_time', pages_per_range=32),
        ),
    ]
