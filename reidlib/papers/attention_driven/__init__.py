"""Attention Driven re-ID: tables, claims and notes; Tables 1, 2 and 12 computed."""
