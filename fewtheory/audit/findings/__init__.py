"""The reproductions behind `fewtheory.audit.known`, one file a family of findings."""
