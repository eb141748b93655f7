"""The third ring: what does things. One open environment (`session`), the summary of all (`lobby`), the run that goes on
(`runner`), write access (`access`). asyncio lives here.

May import: rules, core. The outside is handed in as ports.
"""
