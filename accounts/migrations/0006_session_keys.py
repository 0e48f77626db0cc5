"""What stands in the table of sessions becomes the digest of a session's key: see accounts/sessions.py."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_idempotent_replies"),
        ("sessions", "0001_initial"),
    ]

    operations = [
        # Nobody has to log in anew. Django's keys have 32 characters, what is stored now has 40.
        migrations.RunSQL(
            "UPDATE django_session SET session_key = left(encode(sha256(session_key::bytea), 'hex'), 40)"
            " WHERE length(session_key) = 32",
            migrations.RunSQL.noop,
        ),
    ]
