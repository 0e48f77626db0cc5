from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('products', '0005_request_ids'),
    ]

    operations = [
        migrations.AddField(
            model_name='import',
            name='cleared_at',
            field=models.DateTimeField(help_text='When its file and reported rows were removed, for their age.', null=True),
        ),
    ]
