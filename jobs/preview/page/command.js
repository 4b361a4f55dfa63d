// The command line that does with all files what the page shows of one.

/** `exhibit`: what the server told at the start. `look`: the settings. Nothing that is the default is said. */
export function command(exhibit, { iterations, strength, estimate, network }) {
  const src = exhibit.src.startsWith("-") ? `./${exhibit.src}` : exhibit.src; // no flag
  const words = ["nightlift", exhibit.job, src, "OUT"];
  if (iterations !== 8) words.push("--iterations", String(iterations));
  if (strength !== 1) words.push("--strength", String(strength));
  if (estimate !== "auto") words.push("--estimate-size", estimate);
  if (!exhibit.shipped.includes(network)) words.push("--weights", network);
  else if (network !== exhibit.shipped[0]) words.push("--variant", network);
  return [...words, ...exhibit.flags].map(quoted).join(" ");
}

function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}
