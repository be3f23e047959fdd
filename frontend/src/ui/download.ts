/** Saves a file from the browser. */
export function download(name: string, content: Blob | string, type = "text/plain"): void {
  const blob = typeof content === "string" ? new Blob([content], { type }) : content;
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name.replace(/[^\w.-]+/g, "-");
  link.click();
  // After the click has been worked off, or there is nothing left to save.
  window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
