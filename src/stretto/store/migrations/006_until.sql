-- Of a turn that ended because the vendor takes no more now: when it takes more, if that was told.
ALTER TABLE messages ADD COLUMN until REAL;
