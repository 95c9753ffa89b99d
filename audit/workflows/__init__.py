"""Several steps put together: an audit from its configuration, a first configuration, the generated pages."""
