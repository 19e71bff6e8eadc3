"""A path across domains. Rules: `topology`, `paths`, `signalling`; shells: `service`, `store`, `client`."""
