/**
 * A strict FTPS server for demonstrations and tests, in place of a data safe haven: the client must encrypt everything and resume its TLS session on
 * data connections, as vsftpd and FileZilla Server demand. One user, passive mode, files only ever below one folder.
 *
 * @module
 */
export { FtpsReceiver, type FtpsReceiverOptions } from "./ftps_receiver.ts";
