-- 0004: what became of a study is asked for by its accession number or its pseudonym, without the project.
create index image_by_accession_number on pixl_pipeline.image (accession_number);
create index image_by_pseudonym on pixl_pipeline.image (pseudo_study_uid) where pseudo_study_uid is not null;
