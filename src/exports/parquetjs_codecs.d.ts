// The encodings of @dsnp/parquetjs, a CommonJS module that more can be added to.
import type { Codecs } from "./parquetjs.d.ts";

declare const codecs: Codecs;
export default codecs;
