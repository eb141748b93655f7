"""Trackers of incidents that are asked: over HTTP, with presets for PagerDuty and Jira, or by a command."""
