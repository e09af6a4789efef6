"""Carrying deliveries out: record → wake → **lease → read → post → settle → look again**."""
