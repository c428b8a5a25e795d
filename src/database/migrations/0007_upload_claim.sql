-- 0007: one uploader a path. Two looked, found nothing, and the second renamed over the first; and what a killed one had begun had no name that was
-- known, so that it stayed at the destination.

alter table pixl_pipeline.upload_part
  add column lease_owner text,
  add column lease_until timestamptz,
  add constraint upload_lease_is_whole check ((lease_owner is null) = (lease_until is null));
