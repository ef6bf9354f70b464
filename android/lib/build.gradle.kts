import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.kotlin.jvm)
    `java-library`
    `maven-publish`
}

group = "ai.dyno"
version = "0.1.0"

publishing {
    publications { create<MavenPublication>("jvm") { from(components["java"]) } }
}

// The compiler's explicit API mode is off, because the generated bindings do not pass it; a test
// (PublicNamesTest) checks the hand-written files instead.
kotlin {
    compilerOptions { jvmTarget = JvmTarget.JVM_11 }
}

java {
    sourceCompatibility = JavaVersion.VERSION_11
    targetCompatibility = JavaVersion.VERSION_11
    withSourcesJar()
}

sourceSets.test {
    kotlin.srcDir("src/testSupport/kotlin")
}

dependencies {
    api(libs.coroutines.core)
    implementation(libs.jna)

    testImplementation(platform(libs.junit.bom))
    testImplementation(libs.junit.jupiter)
    testImplementation(libs.coroutines.test)
    testImplementation(libs.json)
    testRuntimeOnly(libs.junit.launcher)
}

// scripts/test-kotlin.sh sets what the tests need; it runs them with Maven.
tasks.test {
    useJUnitPlatform()
    jvmArgs("-Xcheck:jni", "-Xms256m", "-Xmx256m", "-Djna.library.path=${System.getenv("DYNO_SDK_LIB")}")
}
