"""Systems that begin production-first: from an empty folder, or from a pilot that was found."""
