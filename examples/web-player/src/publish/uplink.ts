/** The session with the relay while something is published, and why there is none. */
import { Net, Signals } from "@moq/publish";
import { fingerprint } from "../fingerprint";
import { relayUrl } from "../relay-url";
import * as words from "../words";
import type { Words } from "../words";

/** How often the relay is looked at over HTTP. */
const LOOK_MS = 2000;

/** A session that is not up after so many looks does not come up. */
const PATIENCE = 2;

/** An announcement is listed after so many looks, or not at all. */
const LISTED_AFTER = 2;

/**
 * Keeps a session up while it is wanted.
 *
 * On an http:// page `@moq/net` fetches the fingerprint and pins it. On an https:// page the browser judges the
 * certificate; one that it refuses (of a private authority) may still be pinned, so every other attempt does that.
 */
export class Uplink {
	readonly #wanted = new Signals.Signal(false);
	readonly connection = new Net.Connection.Reload({
		enabled: this.#wanted,
		url: relayUrl,
		// The relay speaks no WebSocket.
		websocket: { enabled: false },
		delay: { initial: 500, multiplier: 1.5, max: 4000, timeout: 0 },
	});
	readonly problem = new Signals.Signal<Words | undefined>(undefined);
	/** Whether the relay lists the broadcast; unknown at first. */
	readonly listed = new Signals.Signal<boolean | undefined>(undefined);
	readonly #name: Signals.Getter<string>;
	#pinned = "";
	#looks = 0;

	constructor(scope: Signals.Effect, name: Signals.Getter<string>) {
		this.#name = name;
		scope.run((effect) => {
			// `@moq/net` 0.1.9 dials again after an error, and not after an orderly end.
			const session = effect.get(this.connection.established);
			session?.closed.then(() => this.#redial(session)).catch(() => {});
		});
		scope.run((effect) => {
			const wanted = effect.get(this.#wanted);
			effect.get(this.connection.established);
			this.#looks = 0;
			this.#pinned = "";
			this.listed.set(undefined);
			if (!wanted) {
				this.problem.set(undefined);
				return;
			}
			void this.#look();
			effect.interval(() => void this.#look(), LOOK_MS);
		});
	}

	want(wanted: boolean): void {
		this.#wanted.set(wanted);
	}

	/** Closes the session before anything that it carries is ended. */
	async leave(): Promise<void> {
		this.want(false);
		// Changes are seen once a turn.
		await new Promise((resolve) => setTimeout(resolve));
	}

	/** A relay that was killed says no goodbye, and QUIC notices only after its idle timeout: HTTP tells earlier. */
	async #look(): Promise<void> {
		const session = this.connection.established.peek();
		const looks = ++this.#looks;
		const answer = await fingerprint();
		if (!this.#wanted.peek() || session !== this.connection.established.peek()) return;
		if ("problem" in answer) {
			this.problem.set(answer.problem);
		} else if (session) {
			this.problem.set(undefined);
			const pinned = (this.#pinned ||= answer.hex);
			// Another certificate is another relay.
			if (pinned !== answer.hex) await this.#redial(session);
			else await this.#lookAtList(looks);
		} else {
			if (looks > PATIENCE) this.problem.set(words.quicRefused);
			const pin = relayUrl.protocol === "https:" && looks % 2 === 1;
			this.connection.webtransport = pin
				? { serverCertificateHashes: [{ algorithm: "sha-256", value: answer.hex }] }
				: undefined;
		}
	}

	async #lookAtList(looks: number): Promise<void> {
		const response = await fetch(new URL("/announced", relayUrl), { cache: "no-store" }).catch(() => undefined);
		if (!response?.ok) return;
		const names = (await response.text().catch(() => "")).split("\n");
		const listed = names.includes(this.#name.peek());
		if (listed || looks > LISTED_AFTER) this.listed.set(listed);
	}

	async #redial(session: Net.Connection.Established): Promise<void> {
		if (!this.#wanted.peek() || this.connection.established.peek() !== session) return;
		this.connection.url.set(undefined);
		// Changes are seen once a turn.
		await new Promise((resolve) => setTimeout(resolve));
		this.connection.url.set(relayUrl);
	}
}
