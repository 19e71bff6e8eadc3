"""What is told about orders: the log of events that people follow, and the audit log that shows tampering."""

from __future__ import annotations

from meetme.runtime.logbook import AuditEntry, Logbook, Told

__all__ = ["AuditEntry", "Told"]

BOOK = Logbook("catalog", "about")
tell, told, last_told = BOOK.tell, BOOK.told, BOOK.last_told
audit, audit_entries, verify_audit = BOOK.audit, BOOK.audit_entries, BOOK.verify_audit
