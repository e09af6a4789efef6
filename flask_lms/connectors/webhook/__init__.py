"""The LMS type signed webhook."""

from .connector import WebhookConnector

__all__ = ["WebhookConnector"]
