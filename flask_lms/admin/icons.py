"""The drawings of the pages: strokes of two units in a square of 24."""

from __future__ import annotations

from types import MappingProxyType

ICONS = MappingProxyType(
    {
        "alert": '<path d="M12 4 2.8 20h18.4z"/><path d="M12 10v4.5M12 17.4v.1"/>',
        "arrow": '<path d="M5 12h14M13 6l6 6-6 6"/>',
        "check": '<path d="m5 12.5 4.5 4.5L19 7.5"/>',
        "circle": '<circle cx="12" cy="12" r="8"/><path d="M9.8 9.6a2.3 2.3 0 1 1 2.9 2.6'
        'c-.5.2-.7.6-.7 1.1v.4M12 16.4v.1"/>',
        "clock": '<circle cx="12" cy="12" r="8.5"/><path d="M12 7.5V12l3 2"/>',
        "copy": '<rect x="9" y="9" width="11" height="11" rx="2"/>'
        '<path d="M5 15V6a2 2 0 0 1 2-2h8"/>',
        "cross": '<path d="m6.5 6.5 11 11M17.5 6.5l-11 11"/>',
        "download": '<path d="M12 4v11M7 10.5l5 5 5-5M5 20h14"/>',
        "edit": '<path d="M4 20h4L19 9l-4-4L4 16zM13.5 6.5l4 4"/>',
        "history": '<path d="M4 12a8 8 0 1 0 2.5-5.8L4 8.5M4 4v4.5h4.5M12 8v4.5l3 1.8"/>',
        "info": '<circle cx="12" cy="12" r="8.5"/><path d="M12 11v5M12 7.8v.1"/>',
        "link": '<path d="M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7l-1.2 1.2"/>'
        '<path d="M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1.2-1.2"/>',
        "mail": '<rect x="3" y="5" width="18" height="14" rx="2"/><path d="m4 7.5 8 6 8-6"/>',
        "minus": '<path d="M6 12h12"/>',
        "pause": '<path d="M9 6v12M15 6v12"/>',
        "play": '<path d="M8 5.5v13l10.5-6.5z"/>',
        "plus": '<path d="M12 5v14M5 12h14"/>',
        "refresh": '<path d="M20 11a8 8 0 0 0-14.3-4L3.5 9.5M4 13a8 8 0 0 0 14.3 4l2.2-2.5'
        'M3.5 4.5v5h5M20.5 19.5v-5h-5"/>',
        "search": '<circle cx="10.5" cy="10.5" r="6.5"/><path d="m15.5 15.5 5 5"/>',
        "send": '<path d="M20.5 3.5 10 14M20.5 3.5 14 20.5l-4-6.5-6.5-4z"/>',
        "trash": '<path d="M4.5 7h15M10 7V4.5h4V7M6.5 7l1 13h9l1-13M10.5 11v5.5M13.5 11v5.5"/>',
        "unplugged": '<path d="M7 3v4M13 3v4M4.5 7h11v3.5a5.5 5.5 0 0 1-11 0zM10 16v5'
        'M16 15l5 5M21 15l-5 5"/>',
    }
)
