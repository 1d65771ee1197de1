"""Which numbers of a record cannot be, by what they mean; each check yields what is wrong and the values."""
