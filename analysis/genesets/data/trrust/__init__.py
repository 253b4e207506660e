"""TRRUST v2 (CC BY-SA 4.0); see NOTICE.md in this folder."""
