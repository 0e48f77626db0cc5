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
                -- What removes old history says so, for its own transaction.
                IF TG_OP <> 'UPDATE' AND current_setting('odata.prune_history', true) = 'on' THEN
                    RETURN NULL;
                END IF;
                RAISE EXCEPTION 'The history of products is append-only: % is refused.', TG_OP
                    USING ERRCODE = 'insufficient_privilege';
            END $$;
            -- Appending calls none of them. After a restore on another server, `products.feed.adopt_history` gives
            -- changes a transaction of this one: their place in the feed, and nothing that they say.
            CREATE TRIGGER history_never_changed BEFORE UPDATE ON products_productchange FOR EACH ROW
                WHEN (to_jsonb(OLD) - 'transaction_id' IS DISTINCT FROM to_jsonb(NEW) - 'transaction_id')
                EXECUTE FUNCTION products_history_is_append_only();
            CREATE TRIGGER history_never_removed BEFORE DELETE ON products_productchange
                FOR EACH STATEMENT EXECUTE FUNCTION products_history_is_append_only();
            CREATE TRIGGER history_never_truncated BEFORE TRUNCATE ON products_productchange
                FOR EACH STATEMENT EXECUTE FUNCTION products_history_is_append_only();
            """,
            """
            DROP TRIGGER history_never_changed ON products_productchange;
            DROP TRIGGER history_never_removed ON products_productchange;
            DROP TRIGGER history_never_truncated ON products_productchange;
            DROP FUNCTION products_history_is_append_only();
            """,
        ),
    ]
