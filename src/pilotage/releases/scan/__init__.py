"""What is known of the packages of a release: licences and advisories."""
