// Light or dark, chosen before the first paint: a plain script, so that nothing flashes.
// "auto" follows the system; a choice is kept in localStorage.
(() => {
  const kept = () => {
    try {
      return localStorage.getItem("honeytrace.theme") || "auto";
    } catch {
      return "auto";
    }
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const choice = kept();
    const dark = choice === "dark" || (choice === "auto" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    document.documentElement.dataset.themeChoice = choice;
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  globalThis.honeytraceTheme = {
    toggle() {
      const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
      // Choosing what the system has anyway means: follow the system again.
      const choice = (next === "dark") === system.matches ? "auto" : next;
      try {
        localStorage.setItem("honeytrace.theme", choice);
      } catch {
        /* private windows may refuse */
      }
      document.documentElement.dataset.theme = next;
      document.documentElement.dataset.themeChoice = choice;
    },
  };
})();
