/** Of a file's name, with its extension; file systems take 255 bytes. */
const LONGEST = 120;

/** A name that every file system takes, from one that a server may have sent: `extension` with its dot stays whole. */
export function fileName(name: string, extension: string): string {
  const plain = name.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[.-]+/, "");
  // Of letters with three or four bytes each there may be fewer.
  const most = Math.floor((LONGEST - extension.length) / (/^[ -~]*$/.test(plain) ? 1 : 4));
  return `${Array.from(plain).slice(0, most).join("") || "rbkit"}${extension}`;
}

/** Saves a file from the browser, under what `fileName` has made. */
export function download(name: string, content: Blob | string, type = "text/plain"): void {
  const blob = typeof content === "string" ? new Blob([content], { type }) : content;
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  // After the click has been worked off, or there is nothing left to save.
  window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
