"""The form of an endpoint. What may be one is said by `webhooks.endpoints`; here it is only asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString

from common.errors import InvalidInputError
from common.sealing import UnreadableSecretError
from webhooks import endpoints
from webhooks.event_types import EVENT_TYPES
from webhooks.models import SignatureKind, WebhookEndpoint
from webhooks.targets import MASK, own_headers

if TYPE_CHECKING:
    FormBase = forms.ModelForm[WebhookEndpoint]
else:
    FormBase = forms.ModelForm


def bounded(name: str, help_text: str) -> forms.IntegerField:
    least, most = endpoints.BOUNDS[name]
    initial = getattr(WebhookEndpoint(), name)
    return forms.IntegerField(min_value=least, max_value=most, initial=initial, help_text=help_text)


def in_words(sentence: str) -> SafeString:
    """A sentence of the docs, with its `names` as a page shows names."""
    pieces = sentence.split("`")
    shape = "".join("<code>{}</code>" if place % 2 else "{}" for place in range(len(pieces)))
    return format_html(shape, *pieces)


class EndpointForm(FormBase):
    url = forms.CharField(
        label="URL",
        max_length=2048,
        widget=forms.URLInput(attrs={"class": "vTextField", "placeholder": "https://"}),
        help_text="Where deliveries are sent by POST: https, with a public address.",
    )
    event_types = forms.MultipleChoiceField(
        choices=[
            (each.name, format_html("<strong>{}</strong> {}", each.name, in_words(each.sentence)))
            for each in EVENT_TYPES.values()
        ],
        initial=endpoints.default_event_types,
        widget=forms.CheckboxSelectMultiple,
    )
    signatures = forms.MultipleChoiceField(
        choices=SignatureKind.choices, initial=[SignatureKind.V1.value], widget=forms.CheckboxSelectMultiple
    )
    headers = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60, "spellcheck": "false", "autocomplete": "off"}),
        help_text=f"Own request headers, one a line: “Name: value”. Values are stored encrypted and shown as "
        f"{MASK} from then on; leave {MASK} to keep one.",
    )
    timeout_seconds = bounded("timeout_seconds", "Seconds for a whole attempt.")
    rate_per_second = bounded("rate_per_second", "Requests a second, at most.")
    concurrency = bounded("concurrency", "Requests open at a time, at most.")
    batch_items = bounded("batch_items", "Products in one products.changed, at most.")
    retry_delays = forms.CharField(
        required=False,
        help_text="Seconds before the second, third .. attempt: “5, 300, 1800”. "
        "Empty: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.",
    )

    class Meta:
        model = WebhookEndpoint
        fields = (
            "url",
            "description",
            "event_types",
            "enabled",
            "signatures",
            "headers",
            "timeout_seconds",
            "rate_per_second",
            "adaptive_rate",
            "concurrency",
            "ordered",
            "retry_delays",
            "batch_items",
        )
        help_texts = {
            "enabled": f"Off: its deliveries wait, for {settings.WEBHOOK_RETENTION_DAYS} days.",
            "adaptive_rate": "Halve the rate when the receiver says 429, and raise it again with each success.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.created_at and "headers" in self.fields:
            self.initial["headers"] = as_lines(endpoints.masked_headers(self.instance))
            self.initial["retry_delays"] = ", ".join(map(str, self.instance.retry_delays or ()))

    def clean_retry_delays(self) -> list[int] | None:
        text = self.cleaned_data["retry_delays"].strip()
        try:
            return [int(part) for part in text.split(",")] if text else None
        except ValueError:
            raise forms.ValidationError("Whole numbers of seconds with commas in between: “5, 300, 1800”.") from None

    def clean_headers(self) -> dict[str, str]:
        try:
            kept = own_headers(self.instance)
        except UnreadableSecretError:
            kept = {}
        headers = {}
        for line in filter(str.strip, self.cleaned_data["headers"].splitlines()):
            name, colon, value = (part.strip() for part in line.partition(":"))
            if not colon or not name:
                raise forms.ValidationError(f"“{line[:40]}” is no header: write “Name: value”.")
            if name == endpoints.UNREADABLE:
                raise forms.ValidationError(
                    "No key in WEBHOOK_SECRET_KEYS decrypts the headers that there are: write them anew, or leave none."
                )
            if value == MASK and name not in kept:
                raise forms.ValidationError(f"{name} has no value yet that could be kept: write it out.")
            if value == MASK and endpoints.is_another_receiver(self.instance, self.cleaned_data.get("url")):
                raise forms.ValidationError(f"{name} was written for another host: write its value anew, or leave it.")
            headers[name] = kept[name] if value == MASK else value
        return headers

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        try:
            endpoints.checked({name: values[name] for name in self.Meta.fields if name in values})
        except InvalidInputError as error:
            for each in error.errors:
                name = each.pointer.strip("/").split("/")[0]
                self.add_error(name if name in self.fields else None, each.message)
        return values


def as_lines(headers: dict[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in headers.items())
