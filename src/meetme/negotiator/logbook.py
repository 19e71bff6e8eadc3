"""What is told about negotiations: the log of events that people follow, and the audit log that shows tampering."""

from __future__ import annotations

from meetme.runtime.logbook import AuditEntry, Logbook, Told, first_broken

__all__ = ["AuditEntry", "Told", "first_broken"]

BOOK = Logbook("negotiator", "negotiation")
EVENT, AUDIT = BOOK.event, BOOK.audits
tell, told, last_told = BOOK.tell, BOOK.told, BOOK.last_told
audit, audit_entries, verify_audit, audit_head = BOOK.audit, BOOK.audit_entries, BOOK.verify_audit, BOOK.audit_head
