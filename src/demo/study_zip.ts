import { zipSync } from "fflate";
import { dicomFile } from "./dicom.ts";

/** ZIP's first day, in local time as ZIP has it: the archive is the same wherever and whenever it is made. */
const EPOCH = new Date(1980, 0, 1);

/**
 * Makes the archive of a synthetic study, as it leaves for research.
 *
 * @param pseudonym The study's pseudonym; see {@linkcode dicomFile}.
 * @returns A ZIP file with one image: the same bytes for the same pseudonym.
 */
export function studyZip(pseudonym: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(zipSync({ "image-1.dcm": dicomFile({ pseudonym }) }, { mtime: EPOCH }));
}
