/** Whether a host is this one, so that what is sent there meets no network (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3, RFC 6761 section 6.3). */
export function isLoopback(host: string): boolean {
  return /^(localhost\.?|127(\.\d{1,3}){3}|::1|\[::1\])$/i.test(host);
}
