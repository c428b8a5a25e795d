/**
 * Upload of finished files to a data safe haven: whole, verified and under their final name, or not at all.
 *
 * {@linkcode FtpsDestination} speaks FTP over TLS. For each file: folders are made, the content goes to `.NAME.<random>.part` while its SHA-256 is taken,
 * size (and hash, where the server has one) are compared, and only then is it renamed to `NAME`. A file that is there already is recognised and
 * not sent again; another file with that name is never replaced unasked. {@linkcode FtpsPool} does the same over several connections,
 * {@linkcode DirectoryDestination} in a folder.
 *
 * @module
 */
export { type ErrorKind, PixlError } from "../errors.ts";
export * from "./destination.ts";
export { DirectoryDestination } from "./directory_destination.ts";
export { type DicomElement, type DicomTags, encodeTags } from "./dicom_tags.ts";
export * from "./errors.ts";
export { HARMLESS_TAGS } from "./harmless_tags.ts";
export { FtpsDestination } from "./ftps_destination.ts";
export type { FtpsOptions } from "./ftps_options.ts";
export { FtpsPool, type FtpsPoolOptions } from "./ftps_pool.ts";
export { Pace } from "./pace.ts";
export { isPartName, partNameOf } from "./remote_path.ts";
