"""Every SQL statement but the schema's, one module per subject. Rows become domain objects here; nothing decides."""
