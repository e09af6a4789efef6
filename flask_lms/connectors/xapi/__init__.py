"""The LMS type xAPI: results as statements to a Learning Record Store (xAPI 1.0.3 and 2.0.0)."""

from .connector import XapiConnector

__all__ = ["XapiConnector"]
