/** The connection to the relay, and why there is none. */
import { Net } from "@moq/watch";
import type MoqWatch from "@moq/watch/element";
import { fingerprint } from "./fingerprint";
import { relayUrl } from "./relay-url";
import * as words from "./words";
import type { Words } from "./words";

type Reload = MoqWatch["connection"];

/** What this browser lacks, if anything. */
export function lacks(): Words | undefined {
	if (!isSecureContext) return words.insecure;
	if (!Net.Connection.isWebTransportSupported()) return words.noWebTransport;
	if (!("VideoDecoder" in globalThis && "AudioDecoder" in globalThis)) return words.noWebCodecs;
	return undefined;
}

/**
 * Keeps `connection` up, and tells what is the matter while it is not.
 *
 * On an http:// page `@moq/net` fetches the fingerprint and pins it. On an https:// page the browser judges the
 * certificate; one that it refuses (of a private authority) may still be pinned, so every other attempt does that.
 */
export class Relay {
	readonly #connection: Reload;
	readonly #tell: (problem: Words | undefined) => void;
	#attempts = 0;
	#pinned = "";

	constructor(connection: Reload, tell: (problem: Words | undefined) => void) {
		this.#connection = connection;
		this.#tell = tell;
		// The relay speaks no WebSocket.
		connection.websocket = { enabled: false };
		connection.delay = { initial: 500, multiplier: 1.5, max: 4000, timeout: 0 };
		connection.status.subscribe((status) => {
			if (status === "connected") this.#connected();
			if (status === "disconnected") void this.#disconnected();
		});
		connection.url.set(relayUrl);
	}

	/**
	 * Called while nothing arrives over a connection that is said to be up: a relay that was killed says no goodbye, and QUIC
	 * notices only after its idle timeout.
	 */
	async doubt(): Promise<void> {
		const answer = await fingerprint();
		if (this.#connection.status.peek() !== "connected") return;
		if ("problem" in answer) {
			this.#tell(answer.problem);
			return;
		}
		this.#tell(undefined);
		// Another certificate is another relay.
		if (this.#pinned && answer.hex !== this.#pinned) await this.#reconnect();
	}

	async #reconnect(): Promise<void> {
		this.#connection.url.set(undefined);
		// Changes are seen once a turn.
		await new Promise((resolve) => setTimeout(resolve));
		this.#connection.url.set(relayUrl);
	}

	#connected(): void {
		this.#attempts = 0;
		this.#tell(undefined);
		void fingerprint().then((answer) => {
			this.#pinned = "hex" in answer ? answer.hex : "";
		});
	}

	async #disconnected(): Promise<void> {
		this.#attempts++;
		const answer = await fingerprint();
		if (this.#connection.status.peek() === "connected") return;
		this.#tell("problem" in answer ? answer.problem : words.quicRefused);
		const pin = relayUrl.protocol === "https:" && "hex" in answer && this.#attempts % 2 === 1;
		this.#connection.webtransport = pin
			? { serverCertificateHashes: [{ algorithm: "sha-256", value: answer.hex }] }
			: undefined;
	}
}
