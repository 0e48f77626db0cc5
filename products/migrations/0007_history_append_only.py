from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('products', '0006_retention'),
    ]

    operations = [
        migrations.RunSQL(
            """
            CREATE FUNCTION products_history_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                -- What removes old history, or gives a restored one its place here, says so for its own transaction.
                IF current_setting(CASE TG_OP WHEN 'UPDATE' THEN 'odata.adopt_history' ELSE 'odata.prune_history' END,
                                   true) = 'on' THEN
                    RETURN NULL;
                END IF;
                RAISE EXCEPTION 'The history of products is append-only: % is refused.', TG_OP
                    USING ERRCODE = 'insufficient_privilege';
            END $$;
            -- Of statements: appending half a million rows calls neither.
            CREATE TRIGGER history_never_changed BEFORE UPDATE OR DELETE ON products_productchange
                FOR EACH STATEMENT EXECUTE FUNCTION products_history_is_append_only();
            CREATE TRIGGER history_never_truncated BEFORE TRUNCATE ON products_productchange
                FOR EACH STATEMENT EXECUTE FUNCTION products_history_is_append_only();
            """,
            """
            DROP TRIGGER history_never_changed ON products_productchange;
            DROP TRIGGER history_never_truncated ON products_productchange;
            DROP FUNCTION products_history_is_append_only();
            """,
        ),
    ]
