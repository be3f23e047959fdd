const WORDS: { readonly [code: number]: string } = {
  1000: "The session was closed.",
  1001: "The worker was told to stop.",
  1002: "The connection broke a rule of the WebSocket protocol.",
  1005: "The connection was closed without a reason.",
  1006: "The connection broke: the worker ended, or the network did.",
  1007: "A message was not valid text.",
  1008: "Too many commands were waiting.",
  1009: "A message was too large.",
  1011: "The Rbkit server went away or did not answer in time.",
  1013: "No Rbkit server is running there.",
};

/** A close code in words, with the server's own reason where it gave one. */
export function closeWords(code: number, reason: string): string {
  const words = WORDS[code] ?? `The connection was closed (code ${code}).`;
  return reason ? `${words} (${reason})` : words;
}
