"""Exact DBSCAN over boxes of space, each solved alone, merged on the cells their edges share."""
