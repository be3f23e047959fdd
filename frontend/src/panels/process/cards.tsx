import type { Link } from "../../connection/link.ts";
import { bytes, clean, count } from "../../ui/format.ts";

const SHOWN = 6;

/** The workers of the application with what each holds and does. */
export function WorkersCard({ link }: { link: Link }) {
  const own = link.handshake.value?.facts.get("server_id");
  const servers = link.connection.servers.value;
  if (!servers.length) {
    return <p class="soft">{link.handshake.value ? `pid ${link.handshake.value.pid ?? "?"}` : "–"}</p>;
  }
  const sizes = servers.map((server) => server.rss ?? 0);
  const largest = Math.max(1, ...sizes);
  return (
    <ol class="bars workers">
      {servers.slice(0, SHOWN).map((server, at) => (
        <li key={server.id}>
          <span class="bar-back" style={{ width: `${(((sizes[at] ?? 0) / largest) * 100).toFixed(1)}%` }} />
          <span class="name">
            {server.name ? `${clean(server.name)} · ` : ""}pid {server.pid ?? "?"}
            {server.id === own && servers.length > 1 && <span class="soft"> · watched</span>}
          </span>
          <span class="number">
            {server.rss === null ? "" : bytes(server.rss)}
            {server.requests === null ? "" : <span class="soft"> {count(server.requests)} running</span>}
          </span>
        </li>
      ))}
      {servers.length > SHOWN && <li class="soft">and {count(servers.length - SHOWN)} more</li>}
    </ol>
  );
}
