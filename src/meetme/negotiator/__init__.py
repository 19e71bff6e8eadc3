"""Two members agree on layer 3. Rules: `protocol`, `addressing`, `policy`; shells: `service`, `store`, `client`."""
