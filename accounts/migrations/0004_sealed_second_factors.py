import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import accounts.devices

OLD = ("otp_static_statictoken", "otp_static_staticdevice", "otp_totp_totpdevice")


def take_over(apps, schema_editor):
    """Seal the secrets that django-otp's own tables have as plain text, and drop these."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        if not set(OLD) <= set(connection.introspection.table_names(cursor)):
            return
        cursor.execute("SELECT user_id, name, confirmed, key, drift, last_t FROM otp_totp_totpdevice")
        for user_id, name, confirmed, key, drift, last_t in cursor.fetchall():
            apps.get_model("accounts", "Authenticator").objects.create(
                user_id=user_id,
                name=name,
                confirmed=confirmed,
                sealed_key=accounts.devices.seal(key),
                drift=drift,
                last_t=last_t,
            )
        cursor.execute(
            "SELECT user_id, name, confirmed, ARRAY(SELECT token FROM otp_static_statictoken WHERE device_id = d.id) "
            "FROM otp_static_staticdevice d"
        )
        for user_id, name, confirmed, codes in cursor.fetchall():
            digests = [accounts.devices.digest_of_code(code) for code in codes]
            apps.get_model("accounts", "RecoveryCodes").objects.create(
                user_id=user_id, name=name, confirmed=confirmed, digests=digests
            )
        cursor.execute(f"DROP TABLE {', '.join(OLD)}")
        cursor.execute("DELETE FROM django_migrations WHERE app IN ('otp_totp', 'otp_static')")


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_tickets_and_audit'),
    ]

    operations = [
        migrations.CreateModel(
            name='Authenticator',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='The human-readable name of this device.', max_length=64)),
                ('confirmed', models.BooleanField(default=True, help_text='Is this device ready for use?')),
                ('throttling_failure_timestamp', models.DateTimeField(blank=True, default=None, help_text='A timestamp of the last failed verification attempt. Null if last attempt succeeded.', null=True)),
                ('throttling_failure_count', models.PositiveIntegerField(default=0, help_text='Number of successive failed attempts.')),
                ('created_at', models.DateTimeField(auto_now_add=True, help_text='The date and time when this device was initially created in the system.', null=True)),
                ('last_used_at', models.DateTimeField(blank=True, help_text='The most recent date and time this device was used.', null=True)),
                ('sealed_key', models.TextField(default=accounts.devices.new_sealed_key, editable=False)),
                ('drift', models.SmallIntegerField(default=0, editable=False, help_text="Steps that the phone's clock was off.")),
                ('last_t', models.BigIntegerField(default=-1, editable=False, help_text='Step of the last code: it counts once.')),
                ('user', models.ForeignKey(help_text='The user that this device belongs to.', on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL)),
            ],
            options={'abstract': False},
        ),
        migrations.CreateModel(
            name='RecoveryCodes',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='The human-readable name of this device.', max_length=64)),
                ('confirmed', models.BooleanField(default=True, help_text='Is this device ready for use?')),
                ('throttling_failure_timestamp', models.DateTimeField(blank=True, default=None, help_text='A timestamp of the last failed verification attempt. Null if last attempt succeeded.', null=True)),
                ('throttling_failure_count', models.PositiveIntegerField(default=0, help_text='Number of successive failed attempts.')),
                ('created_at', models.DateTimeField(auto_now_add=True, help_text='The date and time when this device was initially created in the system.', null=True)),
                ('last_used_at', models.DateTimeField(blank=True, help_text='The most recent date and time this device was used.', null=True)),
                ('digests', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=64), editable=False, size=None)),
                ('user', models.ForeignKey(help_text='The user that this device belongs to.', on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL)),
            ],
            options={'abstract': False},
        ),
        migrations.RunPython(take_over, migrations.RunPython.noop, elidable=True),
    ]
